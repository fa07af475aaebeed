"""What clients speak: HTTP and Socket.IO. One declaration an endpoint, handlers by subject, one guard."""
