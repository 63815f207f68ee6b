"""Queries of lists, each with the index that gives its rows in the order of the list.

Pages of monitors and users are found by their keys first, and the rows of one page are read then.
"""
