"""Due work.

``emitter`` sends ticks; ``due_index_loader`` fills timetables ahead, ``clock_jumps`` notices a clock that is set,
``inline_evaluator`` runs the kinds that judge signals, ``skipped_ticks`` reports ticks that are not run, and
``sweep_measures`` counts, with ``executor_silence``; ``chunk_ticks`` unpacks what the timetable gives. Apart from
ticks: ``agenda_runner`` (reminders, ends of pauses, runs in regions that wait no longer, tasks to be forgotten).
Retries are ticks: they stand in the index of due instants, and the emitter sends them.
"""
