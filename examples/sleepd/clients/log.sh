#!/bin/sh
# Say a line to syslog: log.sh TEXT by /dev/log, log.sh TEXT 127.0.0.1:514 by UDP.
place=${2:-/dev/log}
case $place in
*:*) exec logger --udp --rfc3164 --server "${place%:*}" --port "${place##*:}" --tag shell --priority daemon.warning -- "$1" ;;
*) exec logger --socket "$place" --tag shell --priority daemon.warning -- "$1" ;;
esac
