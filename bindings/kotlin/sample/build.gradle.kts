plugins {
    id("com.android.application") version "8.7.3"
    kotlin("android") version "2.1.0"
}

// From the project's folder, before the first build:
//   cargo ndk -t arm64-v8a -o bindings/kotlin/sample/src/main/jniLibs build --release -p aesa-uniffi
//   bindings/uniffi/generate.sh kotlin bindings/kotlin/sample/generated
android {
    namespace = "aesa.sample"
    compileSdk = 35
    defaultConfig {
        applicationId = "aesa.sample"
        minSdk = 24
        targetSdk = 35
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    kotlinOptions { jvmTarget = "11" }
    sourceSets["main"].kotlin.srcDirs("generated", "../src/main/kotlin")
}

dependencies {
    implementation("net.java.dev.jna:jna:5.15.0@aar")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.9.0")
}
