"""What people found out about the measurements and no program can compute: the text under the table of targets."""

LIMITS = ""
