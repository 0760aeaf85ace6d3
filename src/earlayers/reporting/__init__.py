"""Results become tables, figures and one page; read by people, never read back by the pipeline."""
