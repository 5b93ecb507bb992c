/* One system call a word: what a maintainer script may try, and what came of it.
   Prints "WORD: done" or "WORD: ERRNO-NAME"; static, so that it runs in any root. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int hex(const char *text, unsigned char *out) {
  int n = 0;
  for (; text[0] && text[1]; text += 2) sscanf(text, "%2hhx", &out[n++]);
  return n;
}

static long attempt(int argc, char **argv) {
  const char *word = argv[1];
  if (!strcmp(word, "setxattr")) { /* PATH NAME HEX */
    unsigned char value[256];
    return setxattr(argv[2], argv[3], value, hex(argv[4], value), 0);
  }
  if (!strcmp(word, "fsync")) { /* on descriptors that are not open: 0 only where a filter answers */
    if (fsync(999) || fdatasync(999) || syncfs(999)) return -1;
    if (sync_file_range(999, 0, 0, 0) || msync((void *)4096, 4096, MS_SYNC)) return -1;
    sync();
    return 0;
  }
  if (!strcmp(word, "mount")) return mount("none", argv[2], "tmpfs", 0, "");
  if (!strcmp(word, "bind")) return mount(argv[2], argv[3], "", MS_BIND, "");
  if (!strcmp(word, "remount")) return mount("", argv[2], "", MS_REMOUNT | MS_BIND, "");
  if (!strcmp(word, "umount")) return umount2(argv[2], MNT_DETACH);
  if (!strcmp(word, "fsopen")) return syscall(430, argv[2], 0);
  if (!strcmp(word, "open_tree")) return syscall(428, AT_FDCWD, "/", 1);
  if (!strcmp(word, "unshare")) return unshare(CLONE_NEWUSER | CLONE_NEWNS);
  if (!strcmp(word, "unshare-mount")) return unshare(CLONE_NEWNS);
  if (!strcmp(word, "clone-user")) {
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, 0, 0);
    return pid < 0 ? -1 : 0;
  }
  if (!strcmp(word, "setns")) { /* PATH */
    int fd = open(argv[2], O_RDONLY);
    return fd < 0 ? -1 : setns(fd, 0);
  }
  if (!strcmp(word, "mknod")) /* PATH KIND MAJOR MINOR */
    return mknod(argv[2], (argv[3][0] == 'b' ? S_IFBLK : S_IFCHR) | 0666, makedev(atoi(argv[4]), atoi(argv[5])));
  if (!strcmp(word, "hostname")) return sethostname("taken", 5);
  if (!strcmp(word, "clock")) { /* a time that cannot be: EINVAL, not EPERM, from whoever may set it */
    struct timespec wrong = {0, -1};
    return syscall(SYS_clock_settime, CLOCK_REALTIME, &wrong); /* the library would look at it first */
  }
  if (!strcmp(word, "ptrace")) { /* PID */
    pid_t pid = atoi(argv[2]);
    if (ptrace(PTRACE_ATTACH, pid, 0, 0)) return -1;
    waitpid(pid, 0, 0);
    return ptrace(PTRACE_DETACH, pid, 0, 0);
  }
  if (!strcmp(word, "vmread")) { /* PID */
    char byte;
    struct iovec to = {&byte, 1}, from = {(void *)0x1000, 1};
    return syscall(SYS_process_vm_readv, atoi(argv[2]), &to, 1, &from, 1, 0);
  }
  if (!strcmp(word, "handle")) { /* a file handle opens what no path leads to */
    struct { struct file_handle head; unsigned char bytes[128]; } handle = {.head = {.handle_bytes = 128}};
    int fd = open("/", O_RDONLY);
    memset(handle.bytes, 0, sizeof handle.bytes);
    handle.head.handle_bytes = 8;
    handle.head.handle_type = 1;
    handle.bytes[0] = 2; /* ext4's root */
    return open_by_handle_at(fd, &handle.head, O_RDONLY);
  }
  if (!strcmp(word, "reboot")) return syscall(SYS_reboot, 0xfee1dead, 0x28121969, 0x12345, 0);
  if (!strcmp(word, "module")) return syscall(SYS_init_module, "", 0, "");
  if (!strcmp(word, "bpf")) return syscall(SYS_bpf, 999, 0, 0);
  if (!strcmp(word, "keyring")) return syscall(SYS_add_key, "user", "hosier-test", "x", 1, -4);
  if (!strcmp(word, "tiocsti")) return syscall(SYS_ioctl, 0, 0x5412, "x");
  if (!strcmp(word, "connect")) { /* ADDRESS PORT */
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
    inet_pton(AF_INET, argv[2], &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&to, sizeof to);
  }
  if (!strcmp(word, "abstract")) { /* NAME: an abstract socket belongs to the network namespace */
    struct { sa_family_t family; char path[108]; } to = {.family = AF_UNIX};
    strcpy(to.path + 1, argv[2]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&to, sizeof(sa_family_t) + 1 + strlen(argv[2]));
  }
  if (!strcmp(word, "write")) return write(atoi(argv[2]), "intruder\n", 9) == 9 ? 0 : -1; /* DESCRIPTOR */
  if (!strcmp(word, "append")) { /* PATH */
    int fd = open(argv[2], O_WRONLY | O_APPEND);
    return fd < 0 ? -1 : write(fd, "0", 1) == 1 ? 0 : -1;
  }
  if (!strcmp(word, "read")) { /* PATH */
    char byte;
    int fd = open(argv[2], O_RDONLY);
    return fd < 0 ? -1 : read(fd, &byte, 1) >= 0 ? 0 : -1;
  }
  if (!strcmp(word, "escape")) { /* chroot(2) out of a chroot: where the oldest trick leads; PATH there */
    mkdir("/tmp/cage", 0700);
    int fd = open("/", O_RDONLY);
    int refused = chroot("/tmp/cage");
    unlinkat(fd, "tmp/cage", AT_REMOVEDIR);
    if (refused || fchdir(fd)) return -1;
    for (int i = 0; i < 64; i++)
      if (chdir("..")) return -1;
    if (chroot(".")) return -1;
    return access(argv[2], F_OK);
  }
  if (!strcmp(word, "kill")) return kill(atoi(argv[2]), SIGKILL);
  if (!strcmp(word, "fork")) { /* NUMBER of processes that stay */
    for (int i = 0; i < atoi(argv[2]); i++) {
      pid_t pid = fork();
      if (pid < 0) return -1;
      if (pid == 0) { setsid(); for (;;) sleep(1000); }
    }
    return 0;
  }
  if (!strcmp(word, "deaf")) { /* a daemon that no polite signal ends, with our output open; PATH says it is there */
    pid_t pid = fork();
    if (pid) return pid < 0 ? -1 : 0;
    setsid();
    for (int i = 1; i < 65; i++) signal(i, SIG_IGN);
    int fd = open(argv[2], O_WRONLY | O_CREAT, 0644);
    for (;;) { sleep(1000); (void)fd; }
  }
  if (!strcmp(word, "descriptors")) { /* which are open; this program opens none of its own */
    for (int fd = 0; fd < 4096; fd++) {
      char path[64], target[256];
      snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
      ssize_t length = readlink(path, target, sizeof target - 1);
      if (length > 0) printf("fd %d\n", fd);
    }
    return 0;
  }
  fprintf(stderr, "probe: what is %s?\n", word);
  exit(2);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  errno = 0;
  long result = attempt(argc, argv);
  printf("%s: %s\n", argv[1], result >= 0 ? "done" : strerrorname_np(errno));
  return result < 0;
}
