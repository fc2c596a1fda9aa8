"""The real services, each started as a child process on a free loopback port with a folder of its own."""
