#!/usr/bin/perl
# Say a line to syslog: log.pl TEXT by /dev/log, log.pl TEXT 127.0.0.1:514 by UDP. Only what perl-base has.
use strict;
use warnings;
use POSIX qw(strftime);
use Socket;

my ($text, $place) = (@ARGV, '/dev/log');
my $line = '<' . (3 * 8 + 4) . '>' . strftime('%b %e %H:%M:%S', localtime) . " perl: $text";
my ($out, $to);
if (my ($host, $port) = $place =~ /^(.*):(\d+)$/) {
    $to = sockaddr_in($port, inet_aton($host));
    socket $out, PF_INET, SOCK_DGRAM, 0 or die "cannot make a socket: $!\n";
} else {
    socket $out, PF_UNIX, SOCK_DGRAM, 0 or die "cannot make a socket: $!\n";
    $to = sockaddr_un($place);
}
defined send $out, $line, 0, $to or die "cannot log to $place: $!\n";
