"""The only outward sockets: pooled HTTP/1.1 with TLS, proxies, four deadlines and immediate cancel.

Owns: connections, their pool, time limits on the wire, the undoing of content encodings, the map from every network
fault to our errors, and Google's access tokens (which need a socket). Does not own: policy. Nothing here retries but
for the keep-alive race (``connection.py``), and nothing here knows a dialect.
"""
