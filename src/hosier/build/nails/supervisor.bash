# The first command of a nail's box: runs the nail and, when told so on descriptor 249, makes it say where it is.
ulimit -c 0 -n 512
ulimit -u "$HOSIER_PROCESSES" -v "$HOSIER_MEMORY" -f "$HOSIER_FILE"
unset HOSIER_PROCESSES HOSIER_MEMORY HOSIER_FILE
mkdir -p /run/hosier-nail && chmod 777 /run/hosier-nail
# Nobody counts the processes of the host's own root (setrlimit(2)), which this is where there are no user namespaces.
as=()
if [[ $EUID == 0 && $(tr -s ' ' </proc/self/uid_map) == ' 0 0 4294967295' ]]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
"${as[@]}" "$BASH" --noprofile --norc /.hosier/prelude.bash "$@" 249<&- </dev/null &
nail=$!
{
    exec 247>&- 248<&- >/dev/null 2>&1
    builtin read -r -n 1 -u 249 _ || builtin exit 0
    builtin kill -USR1 "$nail"
    # What the nail waits for keeps it from hearing that; one round would miss what is being forked.
    for round in 1 2 3; do
        for each in /proc/[0-9]*; do
            each=${each##*/}
            case $each in
            1 | "$$" | "$BASHPID" | "$nail") ;;
            *) builtin kill -KILL "$each" ;;
            esac
        done
    done
} &
exec 247>&- 248<&- 249<&- >/dev/null 2>&1
wait "$nail"
exit $?
