"""The sink: results, state changes and the catalogue of monitors, from Kafka into the database."""
