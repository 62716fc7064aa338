"""A server with something to show: queues, workers, tasks in each state, with names and texts that mean harm."""

import datetime
import json
import os
import struct
import subprocess
import time
import urllib.error
import urllib.request
import zlib

HOSTILE = '<script>alert(1)</script>"\'><img src=x onerror=alert(1)> javascript:alert(1) \u202egnp.exe ' + 'w' * 400


class Server:
    """A server on a port and a store of its own, which requires tokens."""

    def __init__(self, program, folder):
        store = f'sqlite:{folder}/baton.db'
        made = subprocess.run([program, 'token', 'create', '--name', 'ada', '--scope', 'operator', '--store', store, '-o', 'json'],
                              check=True, capture_output=True, text=True)
        self.token = json.loads(made.stdout)['secret']
        with open(f'{folder}/crew.token', 'wb') as crew:
            subprocess.run([program, 'token', 'create', '--name', 'crew', '--scope', 'worker', '--store', store], check=True, stdout=crew,
                           stderr=subprocess.DEVNULL)
        with open(f'{folder}/baton.toml', 'w', encoding='utf-8') as settings:
            settings.write('[fleet]\nname = "farm"\ntoken_file = "crew.token"\n[[workers]]\nname = "resize"\ncommand = ["sleep", "9"]\n'
                           'queues = ["images"]\ncount = 2\n[[workers]]\nname = "paint"\ncommand = "./no-such-program"\nqueues = ["paint"]\n')
        environment = dict(os.environ, BATON_TOKENS_REQUIRED='always', BATON_STORE_URL=store,
                           BATON_SERVER_LISTEN='127.0.0.1:0', BATON_LOG_FORMAT='json')
        self.log = f'{folder}/server.log'
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen([program, 'serve'], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.address = self.listening()

    def listening(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with open(self.log, encoding='utf-8') as log:
                for line in log:
                    try:
                        fields = json.loads(line)
                    except ValueError:
                        continue
                    fields = fields.get('fields', fields)
                    if 'server started' in json.dumps(fields):
                        return f'http://{fields["addr"]}'
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        with open(self.log, encoding='utf-8') as log:
            raise RuntimeError('the server did not start:\n' + log.read())

    def call(self, method, path, body=None, raw=None):
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data, method=method)
        request.add_header('authorization', f'Bearer {self.token}')
        request.add_header('content-type', 'application/json')
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b'null')
        except urllib.error.HTTPError as error:
            raise RuntimeError(f'{method} {path}: {error.code} {error.read().decode()}') from error

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def now(seconds=0):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat().replace('+00:00', 'Z')


def png(width, height):
    """A picture: colours that run into each other."""
    rows = b''.join(b'\0' + bytes(value for x in range(width) for value in (x * 255 // width, y * 255 // height, 140)) for y in range(height))
    part = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return (b'\x89PNG\r\n\x1a\n' + part(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
            + part(b'IDAT', zlib.compress(rows)) + part(b'IEND', b''))


def furnish(server, many):
    """Fills a server. Gives the ids of tasks worth a look, by what they show."""
    post = lambda path, body: server.call('POST', path, body)
    task = lambda **fields: post('/v1/tasks', fields)['id']

    def claim(worker, queue):
        return post('/v1/claims', {'worker_id': worker, 'queues': [queue], 'max_tasks': 1})['tasks'][0]

    def end(worker, claimed, how, **fields):
        return post(f'/v1/tasks/{claimed["id"]}/{how}', {'worker_id': worker, 'attempt': claimed['attempt'], **fields})

    shown = {}
    for number in range(12):
        task(type='render', queue='gpu', project='film', params={'scene': f'forest-{number:02}', 'samples': 256})
        claimed = claim('gpu-1', 'gpu')
        end('gpu-1', claimed, 'complete', kind='image/png', result={'frames': 24, 'seconds': 1.5 + number})
    whole = task(type='render', queue='gpu', project='film', description='Opening shot, second try',
                 params={'scene': 'harbour', 'size': [1920, 1080], 'layers': {'fog': True, 'rain': False}})
    claimed = claim('gpu-1', 'gpu')
    end('gpu-1', claimed, 'fail', error={'message': 'CUDA out of memory: 23.9 GiB of 24 GiB are in use', 'code': 'oom'})
    server.call('PATCH', f'/v1/tasks/{whole}', {'delay_seconds': 0})
    claimed = claim('gpu-2', 'gpu')
    picture = png(96, 72)
    server.call('PUT', f'/v1/files/film/tasks/{whole}/still.png', raw=picture)
    lines = [{'at': now(), 'level': level, 'source': 'renderer', 'task_id': whole, 'message': message} for level, message in
             [('info', 'loading scene harbour'), ('warn', 'texture water_03 is missing, using grey'), ('info', 'frame 24 of 24')]]
    post('/v1/workers/gpu-2/heartbeat', {'capacity': 4, 'readings': {'gpu_percent': 87, 'vram_gib': 21.4}, 'labels': {'gpu': 'RTX 4090'},
                                         'running': [{'task_id': whole, 'attempt': 2, 'progress': 0.9}], 'logs': lines})
    for gpu in [12, 55, 91, 87]:
        post('/v1/workers/gpu-2/heartbeat', {'capacity': 4, 'readings': {'gpu_percent': gpu, 'vram_gib': 21.4}, 'labels': {'gpu': 'RTX 4090'},
                                             'running': [{'task_id': whole, 'attempt': 2, 'progress': 0.9}]})
    end('gpu-2', claimed, 'complete', kind='image/png', location='s3://renders/harbour.png',
        result={'frames': 24, 'checksum': 12345678901234567890, 'ok': True}, files=[f'tasks/{whole}/still.png'])
    shown['completed'] = whole
    failed = task(type='transcode', queue='cpu', project='film', params={'codec': 'av1'}, max_attempts=1)
    end('cpu-1', claim('cpu-1', 'cpu'), 'fail', error={'message': 'ffmpeg ended with 1: Invalid data found when processing input',
                                                       'code': 'ffmpeg', 'details': {'exit': 1, 'stderr': ['moov atom not found']}})
    shown['failed'] = failed
    plan = task(type='plan', queue='gpu', project='film')
    parts = [task(type=f'shot-{name}', queue='gpu', project='film', depends_on=[plan]) for name in 'abc']
    shown['blocked'] = task(type='cut', queue='gpu', project='film', depends_on=parts)
    running = claim('gpu-1', 'gpu')
    post('/v1/workers/gpu-1/heartbeat', {'capacity': 4, 'readings': {'gpu_percent': 64, 'vram_gib': 12.1},
                                         'running': [{'task_id': running['id'], 'attempt': 1, 'progress': 0.4, 'message': 'planning'}]})
    shown['running'] = running['id']
    for start in range(0, many, 500):
        batch = [{'type': 'thumbnail', 'queue': 'thumbs', 'params': {'n': n}} for n in range(start, min(start + 500, many))]
        post('/v1/tasks/batch', {'tasks': batch})
    task(type='report', queue='reports', delay_seconds=3_600)
    post('/v1/queues/reports/pause', {'reason': 'the printer is out of paper'})
    post('/v1/schedules', {'name': 'nightly', 'cron': '0 3 * * *', 'time_zone': 'Europe/Berlin', 'task': {'type': 'report', 'queue': 'reports'}})
    post('/v1/limits', {'on': 'queue/gpu', 'max_running': 8, 'reason': 'two machines'})
    server.call('POST', '/v1/projects/film/owner', {'owner': 'studio'})
    post('/v1/tokens', {'name': 'renderers', 'scopes': ['worker'], 'queues': ['gpu', 'cpu']})
    shown['bulk'] = post('/v1/tasks/bulk', {'do': 'cancel', 'filter': {'queue': 'none-such'}})['id']
    return shown


def alarm(server):
    """An alert that fires, and a webhook that is told of it and takes nothing."""
    # What leads to this machine is refused: as good as a receiver that does not answer.
    server.call('PUT', '/v1/webhooks/chat', {'url': 'http://127.0.0.1:9/baton', 'events': ['alert.fired']})
    server.call('PUT', '/v1/alerts/deep', {'kind': 'queue_depth', 'queue': 'thumbs', 'above': 1, 'for_seconds': 0, 'webhooks': ['chat']})
    end = time.monotonic() + 60
    while not server.call('GET', '/v1/alerts/deep')['fires'] or server.call('GET', '/v1/webhooks/chat')['status'] != 'failing':
        if time.monotonic() > end:
            raise RuntimeError('the alert does not fire, or its webhook does not fail')
        time.sleep(0.2)


def screened(server, clip):
    """A task that has put out a video and a small text. Gives its id."""
    post = lambda path, body: server.call('POST', path, body)
    task = post('/v1/tasks', {'type': 'film', 'queue': 'clips', 'project': 'film'})['id']
    post('/v1/claims', {'worker_id': 'gpu-1', 'queues': ['clips'], 'max_tasks': 1})
    files = {'clip.webm': clip, 'shots.json': json.dumps({'shots': [1, 2], 'note': HOSTILE}).encode()}
    for name, data in files.items():
        server.call('PUT', f'/v1/files/film/tasks/{task}/{name}', raw=data)
    post(f'/v1/tasks/{task}/complete', {'worker_id': 'gpu-1', 'attempt': 1, 'files': [f'tasks/{task}/{name}' for name in files]})
    return task


def mean_harm(server):
    """A task whose texts would run if any of them were taken as it is. Gives its id."""
    post = lambda path, body: server.call('POST', path, body)
    hostile = post('/v1/tasks', {'type': 'render', 'queue': 'cpu', 'params': {HOSTILE: [HOSTILE, {'x': HOSTILE}]}, 'description': HOSTILE, 'max_attempts': 1})['id']
    post('/v1/claims', {'worker_id': 'cpu-1', 'queues': ['cpu'], 'max_tasks': 1})
    post('/v1/workers/cpu-1/heartbeat', {'running': [{'task_id': hostile, 'attempt': 1}], 'labels': {'note': HOSTILE[:100]},
                                         'logs': [{'at': now(), 'level': 'error', 'source': 'x', 'message': HOSTILE, 'task_id': hostile}]})
    error = {'message': HOSTILE, 'code': 'bad', 'details': {'why': HOSTILE}}
    post(f'/v1/tasks/{hostile}/fail', {'worker_id': 'cpu-1', 'attempt': 1, 'error': error})
    return hostile
