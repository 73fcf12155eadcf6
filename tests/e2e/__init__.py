"""The provider in a real Airflow: scheduler, workers, triggerer, and sandboxes in place of White Rabbit."""
