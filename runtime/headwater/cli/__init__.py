"""Commands for people and machines. Parses, calls one room, prints; decides nothing."""
