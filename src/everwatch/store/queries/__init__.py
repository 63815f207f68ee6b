"""What is asked of the database: each question with the index that answers it in the order of its list.

Pages of monitors and users are found by their keys first, and the rows of one page are read then.
"""
