"""System calls by number, per architecture. x86-64 so far; another machine is refused, not guessed."""

# Allowed with any arguments: files (Landlock and the mount tree say which), memory, time, threads' locks, polling.
_ALLOWED = """
    read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
    rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 pread64=17 pwrite64=18 readv=19 writev=20 access=21
    pipe=22 select=23 sched_yield=24 mremap=25 msync=26 madvise=28 dup=32 dup2=33 pause=34 nanosleep=35
    getitimer=36 alarm=37 setitimer=38 getpid=39 sendfile=40 sendto=44 recvfrom=45 sendmsg=46 recvmsg=47
    shutdown=48 getsockname=51 getpeername=52 setsockopt=54 getsockopt=55 exit=60 wait4=61 uname=63
    flock=73 fsync=74 fdatasync=75 truncate=76 ftruncate=77 getdents=78 getcwd=79 chdir=80 fchdir=81 rename=82
    mkdir=83 rmdir=84 creat=85 link=86 unlink=87 symlink=88 readlink=89 umask=95 gettimeofday=96 getrlimit=97
    getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104 geteuid=107 getegid=108 getppid=110 getpgrp=111
    getgroups=115 getresuid=118 getresgid=120 getpgid=121 getsid=124 capget=125 rt_sigpending=127
    rt_sigtimedwait=128 sigaltstack=131 statfs=137 fstatfs=138 getpriority=140 sched_getparam=143
    sched_getscheduler=145 arch_prctl=158 gettid=186 time=201 futex=202 sched_getaffinity=204 epoll_create=213
    getdents64=217 set_tid_address=218 restart_syscall=219 fadvise64=221 clock_gettime=228 clock_getres=229
    clock_nanosleep=230 exit_group=231 epoll_wait=232 epoll_ctl=233 waitid=247 openat=257 mkdirat=258
    newfstatat=262 unlinkat=263 renameat=264 linkat=265 symlinkat=266 readlinkat=267 faccessat=269 pselect6=270
    ppoll=271 set_robust_list=273 get_robust_list=274 utimensat=280 epoll_pwait=281 timerfd_create=283
    eventfd=284 fallocate=285 timerfd_settime=286 timerfd_gettime=287 eventfd2=290 epoll_create1=291 dup3=292
    pipe2=293 preadv=295 pwritev=296 getcpu=309 renameat2=316 getrandom=318 membarrier=324 copy_file_range=326
    statx=332 rseq=334 close_range=436 faccessat2=439
"""
ALLOWED_X86_64 = {name: int(number) for name, number in (pair.split("=") for pair in _ALLOWED.split())}

# Refused with EPERM, so that programs see an ordinary error; whatever is named nowhere gets ENOSYS.
# Sockets, processes, signals to others, tracing, namespaces, mounts, keys, BPF, io_uring, clocks, modules, identities.
_REFUSED = """
    29 30 31 41 42 43 49 50 57 58 59 64 68 71 90 91 92 93 94 101 103 105 106 109 112 113 114 116 117 119 126 135
    141 142 144 155 156 160 161 165 166 169 170 171 172 173 175 176 200 203 246 248 250 251 272 298 308 310 311
    312 313 314 317 319 321 322 323 424 425 426 427 434 438 444 445 446 447
"""
REFUSED_X86_64 = tuple(int(number) for number in _REFUSED.split())

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
CLONE, KILL, TGKILL, PRCTL, PIDFD_OPEN = 56, 62, 234, 157, 434
IOCTL, PRLIMIT64, SOCKETPAIR, FCNTL, UTIMENSAT = 16, 302, 53, 72, 280
CLONE3, EXECVE = 435, 59
COMPILERS_NEED = (57, 58, EXECVE, 90, 91)
"""fork, vfork, execve, chmod, fchmod: refused to programs, allowed to compilers."""
