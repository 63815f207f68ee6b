"""What is due: the emitter of ticks, the inline evaluator, the agenda runner."""
