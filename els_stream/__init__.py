"""The essay lifecycle service: rules, SQL, handlers, Kafka consumer and relay, commands and web server."""
