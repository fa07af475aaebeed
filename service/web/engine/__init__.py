"""Engine.IO and Socket.IO, tamed: the only package that imports engineio and socketio."""
