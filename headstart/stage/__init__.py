"""The frame of a stage: command line, parameters, guarded inputs, run statistics, watchdog."""
