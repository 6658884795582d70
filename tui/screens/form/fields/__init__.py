"""The pieces of the form: what a field holds, its line, the line that folds others away, and the search for one."""
