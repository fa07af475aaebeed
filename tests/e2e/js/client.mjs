// The web client of the service, in a few lines: start an install, subscribe, print what comes.
import { io } from 'socket.io-client';

const [url, sshPort, uiHome, ...resources] = process.argv.slice(2);
const socket = io(`${url}/resources`);

const handlers = {
  stage_start: (data) => console.log(`Downloading: ${data.name}`),
  progress: (data) => console.log(`${data.stage}: ${data.percent}% - ${data.speed}`),
  stage_complete: (data) => console.log(`Completed: ${data.name}`),
};

socket.on('resource_install_progress', (data) => handlers[data.type](data));

socket.on('resource_install_complete', (result) => {
  console.log(`Installation complete: ${result.installed}/${result.total} successful`);
  socket.close();
});

socket.on('resource_install_error', (error) => {
  console.error(`Installation failed: ${error.error}`);
  process.exitCode = 1;
  socket.close();
});

socket.on('connect', async () => {
  const response = await fetch(`${url}/resources/install`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      ssh_host: '127.0.0.1',
      ssh_port: Number(sshPort),
      ui_home: uiHome,
      resources,
    }),
  });
  const result = await response.json();
  if (!result.success) {
    throw new Error(result.message);
  }
  socket.emit('subscribe_install', { job_id: result.job_id });
});
