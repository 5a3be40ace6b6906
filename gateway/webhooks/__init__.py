"""Telling customers what happened: endpoints, deliveries, signatures."""
