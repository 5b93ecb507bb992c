#!/usr/bin/python3
"""Say a line to syslog: log.py TEXT by /dev/log, log.py TEXT 127.0.0.1:514 by UDP. Python's smallest set is enough."""

import socket
import sys
import time

DAEMON, WARNING = 3, 4
text, place = sys.argv[1], (sys.argv[2:] or ["/dev/log"])[0]
line = f"<{DAEMON * 8 + WARNING}>{time.strftime('%b %e %H:%M:%S')} python: {text}".encode()
host, colon, port = place.rpartition(":")
with socket.socket(socket.AF_INET if colon else socket.AF_UNIX, socket.SOCK_DGRAM) as out:
    out.sendto(line, (host, int(port)) if colon else place)
