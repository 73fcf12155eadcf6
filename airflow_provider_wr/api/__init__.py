"""White Rabbit without I/O and without Airflow: what a call sends, and what an answer means."""
