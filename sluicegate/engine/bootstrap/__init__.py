"""Bootstrapping: how an edited program goes on with the state of the program before it.

identity    what a table or view is, so that an edit can be told from another way to write the same
comparison  the difference of two plans, and what the engine refuses
"""
