"""Due work: the emitter of ticks, the inline evaluator, the agenda runner."""
