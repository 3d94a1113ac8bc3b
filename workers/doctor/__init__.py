"""What is wrong with this installation, and how to mend it: the checks of `manage.py doctor`."""
