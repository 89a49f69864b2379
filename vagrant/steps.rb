# frozen_string_literal: true

require "fileutils"

module PodwireLab
  # What a step did not find or could not do. Vagrant shows its own errors in a line, others with a backtrace.
  class StepError < Vagrant::Errors::VagrantError
    def initialize(message)
      @said = message
      super()
    end

    def error_message
      @said
    end
  end

  # What happens on the host around a machine's `up`: memory, the bundle, a token from node1, the kubeconfig.
  class Steps
    JOIN = "podwire token create --ttl 1h --print-join-command"
    JOIN_CONTROL_PLANE = "podwire certs upload" # prints the command
    SETTLED = "test -f /etc/podwire/config.yaml"
    ADMIN = "/etc/podwire/admin.kubeconfig"

    def initialize(lab, folder)
      @lab = lab
      @folder = folder
      @state = File.join(folder, ".lab")
      write(cluster_file, lab.cluster_yaml)
      hold_places
    end

    def bundle
      File.join(@state, "#{@lab.release}-#{architecture}#{'-etcd' if @lab.etcd?}.tar")
    end

    def cluster_file
      File.join(@state, "cluster.yaml")
    end

    def join_file(machine)
      File.join(@state, "join-#{machine.name}")
    end

    def kubeconfig
      File.join(@state, "kubeconfig")
    end

    def before(environment, vm, machine)
      check_virtualization(vm)
      check_memory(environment, vm)
      make_bundle
      command = @lab.control_planes.include?(machine) ? JOIN_CONTROL_PLANE : JOIN
      from = giver(environment, vm, machine)
      write(join_file(machine), from ? fetch(from, command) : "")
    end

    # Copies the kubeconfig out, and forgets the token, which has done its work.
    def after(vm, machine)
      check_whole(vm)
      write(join_file(machine), "")
      return unless machine == @lab.control_plane

      write(kubeconfig, fetch(vm, "cat #{ADMIN}"))
      vm.ui.info("the cluster: export KUBECONFIG=#{kubeconfig}")
    end

    private

    # Vagrant wants files that it will copy to be there when it reads the Vagrantfile.
    def hold_places
      [bundle, *@lab.machines.map { |machine| join_file(machine) }].each do |path|
        write(path, "") unless File.exist?(path)
      end
    end

    # Of the box: what lab.yaml says, else this host's.
    def architecture
      @lab.architecture || ARCHITECTURES.fetch(RbConfig::CONFIG["host_cpu"], "amd64")
    end

    def check_virtualization(vm)
      return unless vm.provider_name == :libvirt

      config = vm.provider_config
      why = Virtualization.refusal(driver: config.driver, uri: config.uri)
      raise StepError, "podwire: #{why}" if why
    end

    # Vagrant provisions a machine once, also if that was interrupted: a second `up` passes over it.
    def check_whole(vm)
      return if vm.communicate.test("systemctl is-enabled --quiet podwire-agent", sudo: true)

      raise StepError, "podwire: #{vm.name} is not provisioned to its end: vagrant provision #{vm.name}"
    end

    def check_memory(environment, vm)
      return if @checked

      @checked = true
      total, available = Memory.of_host
      why = Memory.refusal(total: total, available: available, machines: @lab.machines.size,
                           running: running(environment, vm.provider_name), each: @lab.memory)
      raise StepError, "podwire: #{why}" if why
    end

    def running(environment, provider)
      environment.active_machines.count do |name, from|
        from == provider && environment.machine_names.include?(name) &&
          environment.machine(name, from).state.id == :running
      end
    end

    def make_bundle
      release = RELEASES.values.find { |each| each.name == @lab.release }
      family = release ? release.family : "debian"
      words = [File.join(@folder, "bundle"), bundle, @lab.release, family, @lab.python, architecture, @lab.wheel.to_s,
               @lab.store]
      # Vagrant's own environment has libraries and a Ruby that other programs must not meet.
      done = Vagrant::Util::Env.with_clean_env { system(*words, in: File::NULL) }
      raise StepError, "podwire: #{words.first} failed; above is why" unless done
    end

    # A control plane that runs, which gives a machine its way into the cluster. The first machine has none at the
    # first `up`; made again after a `destroy`, it joins the others.
    def giver(environment, vm, machine)
      others = @lab.control_planes.reject { |each| each == machine }
      found = others.map { |each| environment.machine(each.name.to_sym, vm.provider_name) }.find do |each|
        each.state.id == :running && each.communicate.test(SETTLED, sudo: true)
      end
      return found if found || machine == @lab.control_plane

      raise StepError, "podwire: #{vm.name} joins #{others.map(&:name).join(' or ')}, which does not run: " \
                       "vagrant up #{@lab.control_plane.name}"
    end

    def fetch(vm, command)
      said = +""
      status = vm.communicate.sudo(command, error_check: false) { |type, text| said << text if type == :stdout }
      return said if status.zero? && !said.strip.empty?

      raise StepError, "podwire: #{vm.name}: `#{command}` failed (#{status}): vagrant provision #{vm.name}"
    end

    def write(path, text)
      FileUtils.mkdir_p(@state)
      File.open("#{path}.new", File::WRONLY | File::CREAT | File::TRUNC, 0o600) { |file| file.write(text) }
      File.rename("#{path}.new", path)
    end
  end
end
