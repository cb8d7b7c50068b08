/*
 * Tells Sentinel at once that a connection which it began was refused; its library would be woken for it without end.
 *
 * An empty Service of Kubernetes refuses by an ICMP message, which arrives while connect() still runs. Linux then ends
 * nothing: connect() says EINPROGRESS, and the message stands in the socket's error queue, where epoll finds it again
 * and again (EPOLLERR). hiredis does not look there. It costs a processor until the next packet is refused, a second
 * later; where that one is answered, because a pod has come, for as long as the connection lasts
 * (https://github.com/redis/hiredis/pull/1375, https://github.com/redis/redis/issues/9956; both open, Redis 8.0).
 *
 * So connect() takes what stands there, and says it as its own error, as it would had the message come a moment later.
 * hiredis calls it again to ask whether a connection is made, so nothing is left in the queue of one that is.
 */

#define _DEFAULT_SOURCE /* syscall(); with _GNU_SOURCE connect() takes a union of all kinds of address */

#include <time.h> /* linux/errqueue.h needs struct timespec */

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Empties the error queue of a socket. Returns the last error that stood there, or 0. */
static int take_errors(int socket)
{
    int error = 0;

    for (;;) {
        _Alignas(struct cmsghdr) char control[512];
        struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};

        /* Sockets that have no such queue would answer with what somebody has sent. */
        if (recvmsg(socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) == -1 || !(message.msg_flags & MSG_ERRQUEUE))
            return error;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part != NULL; part = CMSG_NXTHDR(&message, part)) {
            const struct sock_extended_err *told = (const struct sock_extended_err *)CMSG_DATA(part);

            if ((part->cmsg_level == SOL_IP && part->cmsg_type == IP_RECVERR)
                || (part->cmsg_level == SOL_IPV6 && part->cmsg_type == IPV6_RECVERR))
                error = (int)told->ee_errno;
        }
    }
}

/* Stands before the C library's; no more of it is needed than the system call. */
int connect(int socket, const struct sockaddr *address, socklen_t length)
{
    int result = (int)syscall(SYS_connect, socket, address, length);
    int error = errno;

    if (result == 0 || error == EINPROGRESS || error == EALREADY || error == EISCONN) {
        int refusal = take_errors(socket);

        /* Said here or never: what was taken from the queue is no error of the socket any more. */
        if (result == -1 && error != EISCONN && refusal != 0)
            error = refusal;
    }
    errno = error;
    return result;
}
