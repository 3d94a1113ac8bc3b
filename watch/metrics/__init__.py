"""What Prometheus scrapes, read at each scrape from where it is kept: Postgres, the two Redis servers, this process."""
