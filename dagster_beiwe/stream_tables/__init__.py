"""The typed tables that analysts read, each made from the raw data of one participant's window."""
