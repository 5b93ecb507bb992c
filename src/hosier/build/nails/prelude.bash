# What a nail finds defined. Each directive writes down that it was called, where and with what, and does nothing else.
#
# A record on descriptor 247 is fields that each end in a NUL: an empty one, the token, the number of those that follow,
# then file, line, depth of subshells, kind, words. Everything here has to work under set -e, set -u and any IFS, with
# functions and variables of the nail's own; what is kept between commands is in files, since subshells may write it.

declare -r __hosier_self=${BASH_SOURCE[0]} __hosier_token=$1 __hosier_state=/run/hosier-nail
TOENAIL=$3

__hosier_emit() {
    local -i __hosier_i=1
    while [[ ${BASH_SOURCE[__hosier_i]-} == "$__hosier_self" ]]; do __hosier_i+=1; done
    builtin printf '%s\0' '' "$__hosier_token" "$(($# + 3))" "${BASH_SOURCE[__hosier_i]-}" \
        "${BASH_LINENO[__hosier_i - 1]-0}" "$BASH_SUBSHELL" "$@" 2>/dev/null >&247 || :
}

# __hosier_find NAME: sets __hosier_found to the file that NAME means where it is written, or fails.
__hosier_find() {
    local -i __hosier_i=1
    local __hosier_each __hosier_answer=
    local -a __hosier_tried
    while [[ ${BASH_SOURCE[__hosier_i]-} == "$__hosier_self" ]]; do __hosier_i+=1; done
    __hosier_each=${BASH_SOURCE[__hosier_i]-}
    case $1 in
    '') return 1 ;;
    /*) __hosier_tried=("$1") ;;
    *) __hosier_tried=("${__hosier_each%/*}/$1" "$PWD/$1") ;;
    esac
    for __hosier_each in "${__hosier_tried[@]}"; do
        if [[ -f $__hosier_each && -r $__hosier_each ]]; then
            __hosier_found=$__hosier_each
            return 0
        fi
    done
    # Of the folder that the caller is in, the box holds only what a nail asks for.
    __hosier_emit want "$__hosier_each"
    IFS= builtin read -r -u 248 __hosier_answer || return 1
    [[ $__hosier_answer != no ]] || return 1
    command -p mkdir -p -- "${__hosier_each%/*}" || return 1
    command -p cat -- "/.hosier/shelf/$__hosier_answer" >"$__hosier_each" || return 1
    __hosier_found=$__hosier_each
}

# Note that __hosier_found is read from here on; fails when it is not to be, being read already.
__hosier_enter() {
    __hosier_found=$(command -p realpath -- "$__hosier_found") || return 1
    local __hosier_met=
    if [[ -n ${__hosier_within[$__hosier_found]-} ]]; then
        __hosier_emit cycle "${__hosier_chain[@]}" "$__hosier_found"
        builtin exit 1
    fi
    # Each step of bash takes the longer the deeper it is: some thousands would take minutes.
    if ((${#__hosier_chain[@]} >= 200)); then
        __hosier_emit deep "${__hosier_chain[@]}" "$__hosier_found"
        builtin exit 1
    fi
    if [[ ${INCLUDE_ONCE-} == yes ]]; then
        while IFS= builtin read -r __hosier_met; do
            [[ $__hosier_met != "$__hosier_found" ]] || return 1
        done <"$__hosier_state/included"
    fi
    builtin printf '%s\n' "$__hosier_found" >>"$__hosier_state/included"
    __hosier_emit enter "$__hosier_found"
    __hosier_chain+=("$__hosier_found")
    __hosier_within[$__hosier_found]=yes
}

# The file that was entered last is at its end.
__hosier_leave() {
    __hosier_within[${__hosier_chain[-1]}]=
    unset '__hosier_chain[-1]'
}

# Without variables of its own: bash looks for each name in those of every function that is being called.
Include() {
    __hosier_emit Include "$@"
    if ! __hosier_find "${1-}"; then
        __hosier_emit missing "${1-}" "${__hosier_chain[@]}"
        builtin exit 1
    fi
    __hosier_enter || return 0
    builtin source "$__hosier_found"
    __hosier_leave
    return 0
}

Base() {
    __hosier_emit Base "$@"
    [[ -n ${1-} ]] || return 0
    SOCK_DIR=$1
    [[ -d $1 ]] || command -p mkdir -p -- "$1" 2>/dev/null || :
}

__hosier_declare() {
    local __hosier_each
    for __hosier_each in "$@"; do
        [[ $__hosier_each != *.rpm ]] || {
            __hosier_each=${__hosier_each##*/}
            builtin printf '%s\n' "${__hosier_each%.rpm}" >>"$__hosier_state/declared"
        }
    done
}

Rpm() {
    __hosier_emit Rpm "$@"
    __hosier_declare "$@"
}

# As rpm -q answers: NAME, NAME.ARCH, NAME-VERSION, NAME-VERSION-RELEASE, and that with .ARCH.
__hosier_declared() {
    local __hosier_file __hosier_rest
    while IFS= builtin read -r __hosier_file; do
        __hosier_rest=${__hosier_file%.*}
        case $1 in
        "$__hosier_file" | "$__hosier_rest" | "${__hosier_rest%-*}" | "${__hosier_rest%-*-*}" | \
            "${__hosier_rest%-*-*}.${__hosier_file##*.}") return 0 ;;
        esac
    done <"$__hosier_state/declared"
    return 1
}

PkgCheck() {
    __hosier_emit PkgCheck "$@"
    __hosier_declared "${1-}"
}

ShadowCheck() {
    __hosier_emit ShadowCheck "$@"
    if __hosier_declared shadow-utils; then return 0; fi
    if __hosier_find TOENAILS/shadow-utils || __hosier_find shadow-utils; then
        __hosier_enter || return 0
        builtin source "$__hosier_found"
        __hosier_leave
    fi
    return 0
}

GpgImport() { __hosier_emit GpgImport "$@"; }
GroupAdd() { __hosier_emit GroupAdd "$@"; }
UserAdd() { __hosier_emit UserAdd "$@"; }
Gecos() { __hosier_emit Gecos "$@"; }
Mknod() { __hosier_emit Mknod "$@"; }
Symlink() { __hosier_emit Symlink "$@"; }
log() { __hosier_emit log "$@"; }

die() {
    __hosier_emit die "$@"
    builtin exit 1
}

exit() {
    local __hosier_status=$?
    [[ $BASH_SUBSHELL != 0 ]] || __hosier_emit exit "${1-$__hosier_status}"
    builtin exit "${1-$__hosier_status}"
}

# ERR: STATUS COMMAND
__hosier_failed() {
    local __hosier_place="${BASH_SOURCE[1]-}:${BASH_LINENO[0]-}"
    [[ ${BASH_SOURCE[1]-} != "$__hosier_self" && $__hosier_place != "${__hosier_last_failed-}" ]] || return 0
    [[ $2 != PkgCheck* ]] || return 0
    __hosier_last_failed=$__hosier_place
    __hosier_emit failed "$1" "$2"
}

__hosier_stopped() {
    [[ ${BASH_SOURCE[1]-} != "$__hosier_self" ]] || return 0
    __hosier_emit stopped
    builtin kill -KILL "$$"
}

# DEBUG, in a second reading that looks for the line: where the nail is, and after which line there is a new job.
__hosier_step() {
    [[ $BASH_SUBSHELL == 0 && ${BASH_SOURCE[1]-} != "$__hosier_self" ]] || return 0
    local __hosier_place="${BASH_SOURCE[1]-}:${BASH_LINENO[0]-}"
    if [[ ${!-} != "$__hosier_job" ]]; then
        __hosier_job=${!-}
        __hosier_emit job "$__hosier_at"
    fi
    if [[ $__hosier_place != "$__hosier_at" && $__hosier_steps -lt 10000 ]]; then
        __hosier_steps=$((__hosier_steps + 1))
        __hosier_emit step
    fi
    __hosier_at=$__hosier_place
}

__hosier_finish() {
    [[ $BASH_SUBSHELL == 0 && ! -e $__hosier_state/finished ]] || return 0
    : >"$__hosier_state/finished"
    local __hosier_each
    local -a __hosier_set
    __hosier_set=()
    for __hosier_each in REPO_FILE MREPO_URL SOCK_DIR VERSION RELEASE PACKAGE; do
        [[ -z ${!__hosier_each+set} ]] || __hosier_set+=("$__hosier_each=${!__hosier_each}")
    done
    __hosier_emit variables "${__hosier_set[@]+"${__hosier_set[@]}"}"
    if [[ -z ${SOCK_DIR-} || $SOCK_DIR != /?* || ! -d $SOCK_DIR ]]; then return 0; fi
    while IFS= builtin read -r -d '' __hosier_each; do
        __hosier_emit wrote "$__hosier_each"
    done < <(command -p find "$SOCK_DIR/" -mindepth 1 -xdev -newer "$__hosier_state/begun" ! -type d -print0 2>/dev/null |
        command -p head -z -n 20)
}

command -p mkdir -p "$__hosier_state"
: >"$__hosier_state/begun" >"$__hosier_state/declared" >"$__hosier_state/included"
# Times of files go by ticks of some milliseconds: what is written in this one would not be newer.
until [[ $__hosier_state/tick -nt $__hosier_state/begun ]]; do : >"$__hosier_state/tick"; done
declare -a __hosier_chain=("$2")
declare -A __hosier_within=(["$2"]=yes)
declare __hosier_found=
declare __hosier_job=${!-} __hosier_at= __hosier_steps=0
trap __hosier_finish EXIT
trap 'set -T; trap __hosier_stopped DEBUG' USR1
trap '__hosier_failed "$?" "$BASH_COMMAND"' ERR
set -E
if [[ -n ${4-} ]]; then
    set -T
    trap __hosier_step DEBUG
fi
__hosier_emit enter "$2"
if [[ ! -r $2 ]]; then
    __hosier_emit unreadable
    builtin exit 1
fi
set --
builtin source "${__hosier_chain[0]}"
trap - ERR DEBUG
set +Tefu
__hosier_emit end
__hosier_finish
builtin exit 0
