/* What a container runtime executes: hands its request to the warm server, prints the answer.
 *
 * The twin of bin/podwire-cni, which is the one to read first; this one starts eight times as
 * fast. Where no server takes the request it becomes the whole plugin (cni_plugin/__main__.py).
 * The wire format is in cni_plugin/server/protocol.py. bin/compile builds it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/podwire/cni.sock"
#define LINGERING ".lingering" /* cni_plugin/server/leave.py */
#define PATIENCE 10 /* seconds for the word that the request is taken */
#define HEADER 12

/* A path that the binary itself holds, so that "podwire cni install" can write another one into its
 * copy (cni_plugin/admin/standalone.py). Volatile: the compiler must not take the path from here. */
#define LONGEST_PATH 1024
struct slot {
    char mark[16];
    char path[LONGEST_PATH];
};
static volatile const struct slot interpreter = {"@interpreter@", ""};
static volatile const struct slot plugin = {"@plugin@", ""};

extern char **environ;

struct buffer {
    char *data;
    size_t length;
};

static void append(struct buffer *to, const void *data, size_t length)
{
    to->data = realloc(to->data, to->length + length + 1);
    if (!to->data)
        _exit(1);
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static int write_all(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        data += written;
        length -= written;
    }
    return 0;
}

/* Print a document; returns the exit code, which is 1 where nobody can read it. */
static int say(struct buffer document, int code)
{
    if (!write_all(1, document.data, document.length))
        return code;
    perror("podwire-cni: standard output");
    return 1;
}

static struct buffer read_stdin(void)
{
    struct buffer read_so_far = {0};
    char chunk[65536];
    ssize_t got;
    while ((got = read(0, chunk, sizeof chunk)) > 0 || (got < 0 && errno == EINTR))
        if (got > 0)
            append(&read_so_far, chunk, got);
    return read_so_far;
}

static const char *socket_path(void)
{
    const char *path = getenv("PODWIRE_CNI_SOCKET");
    return path ? path : DEFAULT_SOCKET;
}

/* Connect to the server that somebody has started, or else to one that a call has left behind.
 * Return 0 if there is one. */
static int connect_to_server(int fd)
{
    for (const char *suffix = ""; suffix; suffix = *suffix ? NULL : LINGERING) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t room = sizeof address.sun_path;
        if ((size_t)snprintf(address.sun_path, room, "%s%s", socket_path(), suffix) < room &&
            !connect(fd, (struct sockaddr *)&address, sizeof address))
            return 0;
    }
    return -1;
}

/* Do it all in this process, with the same core; standard input is read already. */
static void become_the_plugin(struct buffer in)
{
    int memory = memfd_create("stdin", 0);
    write_all(memory, in.data, in.length);
    lseek(memory, 0, SEEK_SET);
    dup2(memory, 0);
    char *python = (char *)interpreter.path;
    char *argv[] = {python, "-IS", (char *)plugin.path, NULL};
    execve(python, argv, environ);
    printf("{\"cniVersion\": \"0.1.0\", \"code\": 5, \"msg\": "
           "\"podwire-cni: no server at %s, and %s: %s\"}\n",
           socket_path(), python, strerror(errno));
    fflush(stdout);
    _exit(1);
}

/* Exactly so many bytes; returns fewer when the server is gone. */
static size_t receive(int fd, void *to, size_t length)
{
    size_t have = 0;
    while (have < length) {
        ssize_t got = recv(fd, (char *)to + have, length - have, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += got;
    }
    return have;
}

/* A part of an answer, of a length that came before it; data is NULL when the server is gone. */
static struct buffer receive_part(int fd, uint32_t length)
{
    struct buffer part = {malloc((size_t)length + 1), length};
    if (!part.data || receive(fd, part.data, length) != length)
        part.data = NULL;
    return part;
}

/* Header, CNI_* variables with a NUL between them, standard input. */
static struct buffer frame(struct buffer in)
{
    struct buffer made = {0};
    append(&made, "PWC1\0\0\0\0\0\0\0\0", HEADER);
    for (char **variable = environ; *variable; variable++)
        if (!strncmp(*variable, "CNI_", 4))
            append(&made, *variable, strlen(*variable) + 1);
    uint32_t lengths[2] = {htonl(made.length - HEADER), htonl(in.length)};
    memcpy(made.data + 4, lengths, sizeof lengths);
    append(&made, in.data ? in.data : "", in.length);
    return made;
}

/* The frame, and with its first bytes the descriptors. Returns 0 when it is sent. */
static int send_request(int fd, struct buffer in)
{
    const char *netns = getenv("CNI_NETNS");
    const char *paths[] = {"/proc/self/ns/net", "/proc/self/ns/mnt", "/", netns ? netns : ""};
    int descriptors[4], count = 0;
    for (int i = 0; i < 4; i++) {
        descriptors[count] = open(paths[i], O_RDONLY | O_CLOEXEC);
        if (descriptors[count] >= 0)
            count++;
        else if (i < 3)
            return -1;
    }
    struct buffer whole = frame(in);
    struct iovec part = {whole.data, whole.length};
    char control[CMSG_SPACE(sizeof descriptors)] = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(rights), descriptors, count * sizeof(int));
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    for (size_t done = sent < 0 ? 0 : sent; sent > 0 && done < whole.length; done += sent)
        sent = send(fd, whole.data + done, whole.length - done, MSG_NOSIGNAL);
    return sent < 0 ? -1 : 0;
}

/* Whether the server says that it takes the request. Closing the way back makes it fail to take
 * what we have given up on. */
static int is_taken(int fd)
{
    struct timeval patience = {PATIENCE, 0}, forever = {0, 0};
    char word = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (recv(fd, &word, 1, 0) < 0) {
        shutdown(fd, SHUT_RD);
        recv(fd, &word, 1, 0);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
    return word == 'T';
}

/* Print the server's last will; without one the request may simply be done again, here. */
static int server_died(struct buffer will, struct buffer in)
{
    if (!will.data || !will.length)
        become_the_plugin(in);
    return say(will, 1);
}

int main(int argc, char **argv)
{
    char *slash = argc ? strrchr(argv[0], '/') : NULL;
    setenv("CNI_PODWIRE_PROGRAM", slash ? slash + 1 : argc ? argv[0] : "", 1);
    struct buffer in = read_stdin();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect_to_server(fd) || send_request(fd, in) || !is_taken(fd))
        become_the_plugin(in);

    uint32_t length = 0;
    uint8_t head[5];
    receive(fd, &length, sizeof length);
    struct buffer will = receive_part(fd, ntohl(length));
    if (receive(fd, head, sizeof head) != sizeof head)
        return server_died(will, in);
    memcpy(&length, head + 1, sizeof length);
    struct buffer out = receive_part(fd, ntohl(length));
    if (!out.data)
        return server_died(will, in);
    return say(out, head[0]);
}
