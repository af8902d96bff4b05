"""Bootstrapping: how an edited program goes on with the state of the program before it.

identity    what a table or view is, so that an edit can be told from another way to write the same
comparison  the difference of two plans, and what the engine refuses
deciding    whether a start may go on from a state, and how; waits for approval
consent     what the start and the user have said to it
migration   the database of one program becomes that of another
concurrent  the same beside the steps, with the views of before until the cut-over
journal     what steps change meanwhile
"""
