"""``airflow wr``: commands for the machine that has Airflow's database (Airflow 3.3 and later)."""
