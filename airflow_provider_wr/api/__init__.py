"""White Rabbit's API without I/O and without Airflow: building requests and reading answers."""
