"""The handlers of the endpoints, by subject. A handler gets the services and its parameters; it knows no request."""
