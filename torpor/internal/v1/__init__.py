"""Generated messages that only the processes of one server exchange."""
