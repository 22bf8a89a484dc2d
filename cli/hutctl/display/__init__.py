"""What people see: tables, progress, summaries. Nothing here knows where it comes from."""
