// The least that a server must do before it answers 250: what Elemta's figures are held against.
//
//   bare-log SESSIONS FILE
//
// Listens on 127.0.0.1, on a port that the kernel chooses and that the first line of the output names. One thread
// serves the sockets with libevent; another appends what has arrived to FILE and syncs it, all that waits at once
// (group commit); then the clients of these messages are answered, and not before. It knows the verbs
// that smtp-source says and nothing more of their lines, delivers nothing and recovers nothing.
#define _GNU_SOURCE
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

// Octets of the file. It is laid out at the start, and written from its beginning again when it's full: a log whose
// older part has been delivered does the same, and a sync then carries content and nothing about the file.
#define LOG_OCTETS (64 << 20)
#define PAGE_OCTETS 4096
#define CONTENT_AT_MOST (32 << 20)
#define LINE_AT_MOST 2048
#define ACCEPTED_AT_ONCE 64

enum phase { COMMANDS, CONTENT, SYNCING };

// A transaction as it's written: its octets, MAIL, the RCPTs and the content as they came.
struct record {
    size_t length, capacity;
    size_t content;  // where the content begins
    char *octets;
};

struct session {
    struct event readable;
    struct session *next;  // in the list that it waits in
    char *partial;         // the beginning of a line whose end hasn't come
    uint16_t partial_length;
    char phase;   // enum phase
    char paused;  // its socket isn't looked at until the sync is over
    struct record record;
};

static struct event_base *base;
static int listener, log_file, wake;
static long sessions, sessions_at_most;
static char input[1 << 16];

// Between the threads: the writer takes all of `waiting`, and gives it back in `synced`.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t anything = PTHREAD_COND_INITIALIZER;
static struct session *waiting, *synced;
static int writer_sleeps;
// What this turn of the event loop has received: given to the writer at its end, all at once.
static struct session *received;

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

// Answers are shorter than any socket's buffer: a client whose buffer is full reads none of them, and is dropped.
static int answer(struct session *session, const char *text, size_t length) {
    return send(event_get_fd(&session->readable), text, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length;
}

static void drop_record(struct session *session) {
    free(session->record.octets);
    session->record = (struct record){0};
}

static void close_session(struct session *session) {
    event_del(&session->readable);
    close(event_get_fd(&session->readable));
    drop_record(session);
    free(session->partial);
    free(session);
    sessions -= 1;
}

static void make_room(struct record *record, size_t octets) {
    if (record->capacity - record->length >= octets) return;
    size_t capacity = record->capacity ? record->capacity : 1024;
    while (capacity - record->length < octets) capacity *= 4;
    record->octets = realloc(record->octets, capacity);
    if (!record->octets) fail("realloc");
    record->capacity = capacity;
}

static void append(struct record *record, const char *octets, size_t length) {
    make_room(record, length);
    memcpy(record->octets + record->length, octets, length);
    record->length += length;
}

// The content is over if its last line is a dot. Only the end is looked at: no client sends on before it's answered.
static void look_for_end(struct session *session) {
    struct record *record = &session->record;
    size_t length = record->length - record->content;
    const char *end = record->octets + record->length;
    if (length < 3 || memcmp(end - 3, ".\r\n", 3)) return;
    if (length > 3 && (length < 5 || memcmp(end - 5, "\r\n", 2))) return;
    memcpy(record->octets, &record->length, sizeof record->length);
    session->phase = SYNCING;
    session->next = received;
    received = session;
}

// The reply to a line, which includes CRLF; NULL: the session is over.
static const char *reply(struct session *session, const char *line, size_t length) {
    struct record *record = &session->record;
    if (!strncasecmp(line, "EHLO", 4) || !strncasecmp(line, "HELO", 4)) return "250 bare-log\r\n";
    if (!strncasecmp(line, "MAIL", 4)) {
        make_room(record, 4000);
        record->length = sizeof record->length;  // written once it is known
        append(record, line, length);
        return "250 OK\r\n";
    }
    if (!strncasecmp(line, "QUIT", 4)) return NULL;
    if (!strncasecmp(line, "RSET", 4)) {
        drop_record(session);
        return "250 OK\r\n";
    }
    if (!strncasecmp(line, "RCPT", 4) && record->length) {
        append(record, line, length);
        return "250 OK\r\n";
    }
    if (!strncasecmp(line, "DATA", 4) && record->length) {
        session->phase = CONTENT;
        record->content = record->length;
        return "354 Go on\r\n";
    }
    return "500 No\r\n";
}

// Lines from a buffer that all sessions share: one that waits holds no memory for what it may send.
static void read_commands(struct session *session) {
    size_t length = session->partial_length;
    memcpy(input, session->partial ? session->partial : "", length);
    ssize_t got = recv(event_get_fd(&session->readable), input + length, sizeof input - length, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        close_session(session);
        return;
    }
    free(session->partial);
    session->partial = NULL;
    session->partial_length = 0;
    char *line = input, *end = input + length + got, *feed;
    while (session->phase == COMMANDS && (feed = memchr(line, '\n', end - line))) {
        const char *text = reply(session, line, feed + 1 - line);
        if (!text) answer(session, "221 Bye\r\n", 9);
        if (!text || !answer(session, text, strlen(text))) {
            close_session(session);
            return;
        }
        line = feed + 1;
    }
    if (line == end) return;
    if (session->phase == CONTENT) {
        append(&session->record, line, end - line);
        look_for_end(session);
    } else if (end - line > LINE_AT_MOST) {
        close_session(session);
    } else {
        session->partial_length = end - line;
        session->partial = malloc(end - line);
        if (!session->partial) fail("malloc");
        memcpy(session->partial, line, end - line);
    }
}

// Straight into the record, without a copy.
static void read_content(struct session *session) {
    struct record *record = &session->record;
    make_room(record, 1);
    size_t room = record->capacity - record->length;
    ssize_t got = recv(event_get_fd(&session->readable), record->octets + record->length, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || record->length + got > CONTENT_AT_MOST) {
        close_session(session);
        return;
    }
    record->length += got;
    look_for_end(session);
}

static void on_readable(evutil_socket_t socket, short what, void *argument) {
    struct session *session = argument;
    (void)socket, (void)what;
    switch ((enum phase)session->phase) {
    case COMMANDS:
        read_commands(session);
        break;
    case CONTENT:
        read_content(session);
        break;
    case SYNCING:
        // It has hung up, or says more before it's answered: without this the event would come again and again.
        event_del(&session->readable);
        session->paused = 1;
    }
}

static void on_connection(evutil_socket_t socket, short what, void *argument) {
    (void)what, (void)argument;
    for (int count = 0; count < ACCEPTED_AT_ONCE; count++) {
        int accepted = accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) return;
        struct session *session = sessions < sessions_at_most ? calloc(1, sizeof *session) : NULL;
        if (!session) {
            close(accepted);
            continue;
        }
        sessions += 1;
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        event_assign(&session->readable, base, accepted, EV_READ | EV_PERSIST, on_readable, session);
        event_add(&session->readable, NULL);
        if (!answer(session, "220 bare-log ESMTP\r\n", 20)) close_session(session);
    }
}

static void on_synced(evutil_socket_t socket, short what, void *argument) {
    eventfd_t count;
    (void)what, (void)argument;
    eventfd_read(socket, &count);
    pthread_mutex_lock(&lock);
    struct session *session = synced, *next;
    synced = NULL;
    pthread_mutex_unlock(&lock);
    for (; session; session = next) {
        next = session->next;
        drop_record(session);
        session->phase = COMMANDS;
        if (session->paused) event_add(&session->readable, NULL);
        session->paused = 0;
        if (!answer(session, "250 Synced\r\n", 12)) close_session(session);
    }
}

static void give_to_writer(void) {
    struct session *last = received;
    if (!last) return;
    while (last->next) last = last->next;
    pthread_mutex_lock(&lock);
    last->next = waiting;
    waiting = received;
    int wake_it = writer_sleeps;
    writer_sleeps = 0;
    pthread_mutex_unlock(&lock);
    received = NULL;
    if (wake_it) pthread_cond_signal(&anything);
}

static void write_all(struct iovec *part, int count, off_t offset) {
    while (count) {
        ssize_t written = pwritev(log_file, part, count, offset);
        if (written < 0 && errno != EINTR) fail("pwritev");
        if (written < 0) continue;
        for (offset += written; count && (size_t)written >= part->iov_len; part++, count--) written -= part->iov_len;
        if (count) {
            part->iov_base = (char *)part->iov_base + written;
            part->iov_len -= written;
        }
    }
}

// Writes the records of the first sessions of the list, as many as one call and the file take, and syncs them. The last of
// them: what follows it waits still.
static struct session *write_batch(struct session *first, off_t *offset) {
    static struct iovec parts[IOV_MAX];
    size_t octets = 0;
    int count = 0;
    struct session *last = NULL;
    for (struct session *session = first; session && count < IOV_MAX; session = session->next) {
        struct record *record = &session->record;
        if (octets + record->length > LOG_OCTETS) break;
        parts[count++] = (struct iovec){record->octets, record->length};
        octets += record->length;
        last = session;
    }
    if (*offset + (off_t)octets > LOG_OCTETS) *offset = 0;
    write_all(parts, count, *offset);
    if (fdatasync(log_file)) fail("fdatasync");
    *offset += octets;
    return last;
}

static void *writer(void *argument) {
    off_t offset = 0;
    (void)argument;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (!waiting) {
            writer_sleeps = 1;
            pthread_cond_wait(&anything, &lock);
        }
        struct session *first = waiting;
        waiting = NULL;
        pthread_mutex_unlock(&lock);
        while (first) {
            struct session *last = write_batch(first, &offset), *rest = last->next;
            pthread_mutex_lock(&lock);
            int is_first = !synced;
            last->next = synced;
            synced = first;
            pthread_mutex_unlock(&lock);
            if (is_first) eventfd_write(wake, 1);
            first = rest;
        }
    }
    return NULL;
}

static void lay_out(const char *path) {
    log_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (log_file < 0) fail(path);
    // Page by page: the kernel keeps what one call wrote together, and would write all of it back for each record.
    for (off_t offset = 0; offset < LOG_OCTETS; offset += PAGE_OCTETS)
        write_all(&(struct iovec){input, PAGE_OCTETS}, 1, offset);
    if (fsync(log_file)) fail(path);
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int made = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0 || bind(made, (struct sockaddr *)&address, sizeof address) || listen(made, 4096)
        || getsockname(made, (struct sockaddr *)&address, &length))
        fail("listen");
    printf("127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return made;
}

int main(int count, char **arguments) {
    if (count != 3 || (sessions_at_most = atol(arguments[1])) <= 0) {
        fprintf(stderr, "usage: bare-log SESSIONS FILE\n");
        return 64;
    }
    struct rlimit descriptors;
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    // Memory for content is used again: otherwise each page of a large message would be a fault.
    mallopt(M_MMAP_THRESHOLD, CONTENT_AT_MOST);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    lay_out(arguments[2]);

    struct event_config *configuration = event_config_new();
    event_config_set_flag(configuration, EVENT_BASE_FLAG_NOLOCK);
    base = event_base_new_with_config(configuration);
    wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!base || wake < 0) fail("start");
    pthread_t thread;
    if (pthread_create(&thread, NULL, writer, NULL)) fail("thread");
    pthread_setname_np(thread, "writer");
    listener = listen_anywhere();
    struct event *connection = event_new(base, listener, EV_READ | EV_PERSIST, on_connection, NULL);
    struct event *over = event_new(base, wake, EV_READ | EV_PERSIST, on_synced, NULL);
    event_add(connection, NULL);
    event_add(over, NULL);
    while (event_base_loop(base, EVLOOP_ONCE) == 0) give_to_writer();
    return 1;
}
