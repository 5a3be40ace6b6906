"""Routes that belong to no dialect: estimates, models, files by signed link, health, metrics."""
