"""The post-mortem of a job, pure over its events, and the page that shows it."""
