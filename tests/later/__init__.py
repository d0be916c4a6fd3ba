"""Files, batches and jobs, with real clients, real processes and real kills."""
