"""Handlers of the worker's inputs.

Three handlers: ``registration`` (signups and commands), ``signals``, ``feedback`` (results). ``isolation`` calls them,
and isolates records that make them fail. Registration is made of ``input_admission`` (decode, validate, plan),
``newcomers`` and ``shared_entries`` (users without an entry), ``monitor_changes`` (all others) and ``manual_runs``.
"""
