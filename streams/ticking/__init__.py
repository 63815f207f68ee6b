"""Due work.

``emitter`` sends ticks; ``due_index_loader`` fills timetables ahead, ``clock_jumps`` notices a clock that is set,
``inline_evaluator`` runs the kinds that judge signals, ``skipped_ticks`` reports ticks that are not run, and
``sweep_measures`` counts. Apart from schedules: ``agenda_runner`` (retries, reminders, ends of pauses).
"""
