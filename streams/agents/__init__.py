"""Handlers of the worker's inputs, which its agents call through ``isolation``.

Faust's agents themselves are in ``streams/app.py``: each takes its topic's batches and has ``isolation`` handle them.
That calls the topic's handler, a method of one of three objects: ``registration`` (signups and all commands, also
those that pause, purge or cancel), ``signals``, ``feedback`` (results). It isolates records that make the handler fail.

Registration is made of ``input_admission`` (decode, validate, plan), ``newcomers`` and ``shared_entries`` (users
without an entry), ``monitor_changes`` (all others) and ``manual_runs``.
"""
