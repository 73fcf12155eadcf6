"""A local White Rabbit: a real HTTP server with one built-in workflow, for trying out and testing."""

#: Error message when the extra `sandbox` is not installed.
WITHOUT_EXTRA = "the sandbox needs its extra: pip install 'airflow-provider-wr[sandbox]'"
