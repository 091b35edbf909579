"""Resume an interrupted session: cases that passed in it do not run again."""
