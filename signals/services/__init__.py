"""What can be done with signals, by noun: configurations, bots, schedules, sweeps, evaluation, replay."""
