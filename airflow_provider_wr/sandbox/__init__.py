"""A local White Rabbit: a real HTTP server with one built-in workflow, to try and test against."""

#: What whoever asks for it without its extra is told.
WITHOUT_EXTRA = "the sandbox needs its extra: pip install 'airflow-provider-wr[sandbox]'"
