"""A local White Rabbit: a real HTTP server with one built-in workflow, to try and test against."""
