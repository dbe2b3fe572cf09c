"""Typed params.yaml: one module a section, named like the stage that it belongs to.

Every section is a frozen pydantic model. A stage imports its own section alone, so that a new
parameter of ``export`` does not make DVC run ``download`` again; :mod:`.reader` checks the whole
file and reports all faults in one message.
"""
